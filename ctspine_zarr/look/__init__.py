"""What people look at: pictures, contact sheets, plots and the notebook's HTML, from plain data."""

"""Which cases exist and where their files are: split list, local tree, spreadsheet."""

"""Where the files of a dataset are: a local folder, or a repository on the Hub."""

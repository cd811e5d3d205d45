"""The commands of the command line, one file for each job. Heavy imports stay inside the functions."""

"""What is around every task: errors to exit codes, words of the command line."""

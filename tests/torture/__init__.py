"""What would find the day on which something is lost, done twice or answered wrongly: `python -m tests.torture --help`.

A campaign is a module here, with a class of the kind that `campaign` describes, and a line in `__main__`. Each makes
cases from a seed; the runner takes as many as it was given time for. What was found is told with the command that
repeats it.
"""

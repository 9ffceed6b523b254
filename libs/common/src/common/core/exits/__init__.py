"""When and how a position is closed: the rules, what they remember of it, and the signal that closes it.

Two services decide on them: the exit worker on every price, and inference, which takes a profit before it
would enter anew.
"""

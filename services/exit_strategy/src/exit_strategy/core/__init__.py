"""What an exit worker decides without asking anybody: pacing, which price to believe, when to doubt it."""

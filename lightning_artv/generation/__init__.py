"""Videos from prompts, storyboards and first frames."""

"""VideoGen (Li et al.): a reference picture, a cascade of clip models, slow motion, a decoder."""

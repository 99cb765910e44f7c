"""Video decoders: an image model's decoder, trained to see the frames of a clip together."""

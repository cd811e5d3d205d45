"""Episodes played: with tokens, with pictures, as a chat."""

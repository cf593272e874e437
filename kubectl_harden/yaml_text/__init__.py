"""Text as kubectl reads it, and edits that keep every other byte."""

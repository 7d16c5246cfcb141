"""The commands of `fleet`, by what they work on: arguments in, calls, words out."""

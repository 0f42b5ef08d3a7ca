"""The routes, by what they are about. Each answers from the supervisor or the store and converts; none has logic."""

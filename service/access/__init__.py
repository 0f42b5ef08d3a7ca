"""Access: who may ask for what, how often, and what is remembered of it.

Tokens and their scopes, rate limits, TLS contexts, the audit log and the masking of secrets, for every program of ours
that listens. Knows the domain alone; what differs between programs (routes, problems) is theirs.
"""

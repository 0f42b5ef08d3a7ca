"""The agent API, once for every kind of node: how a node's configuration is read and changed over REST.

A node implements :class:`service.agent.node.Reconfigurable`; the rest is here. Knows the domain alone, and no server.
"""

"""The proxy nodes: the template of their configuration, what renders it, and their container."""

from proxy.render import PAGES, Node, NodeError, copy_pages, render

__all__ = ["PAGES", "Node", "NodeError", "copy_pages", "render"]

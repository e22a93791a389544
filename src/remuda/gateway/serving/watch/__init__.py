"""Watches the engines that are served: their health pages, and the work of those that nobody supervises."""

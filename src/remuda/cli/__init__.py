"""The command line: parse, call, print; nothing else. One module a command, each exporting a click command named
`command`.
"""

"""The engines' side of the wire: connections, pools, request and answer heads. Knows no client."""

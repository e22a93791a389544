"""The client's side of the wire: connections, heads, bodies, deadlines, answers. Knows no model, key or engine."""

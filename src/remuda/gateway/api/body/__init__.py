"""How the body of a request is read and edited: JSON in slices, forms, media parts. Knows no route and no model."""

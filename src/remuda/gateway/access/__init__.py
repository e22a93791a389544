"""Who asks: keys, tenants, admission, and what web pages of other sites may do."""

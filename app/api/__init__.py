"""GraphQL: how the gateway looks from outside."""

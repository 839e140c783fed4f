"""HTTP services: one ASGI application that speaks the contracts that existing clients speak."""

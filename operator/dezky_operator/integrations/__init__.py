"""The three systems a tenant lives in, and the one mechanism that changes them: observe, plan, apply."""

"""Makes every part and joins it: a module a program, so that each loads only what it needs."""

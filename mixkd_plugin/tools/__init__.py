"""The commands, `mixkd NAME`; of the package only `__main__` imports them."""

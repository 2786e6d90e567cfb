"""Command-line tools, `python -m mixkd_plugin.tools.NAME`; nothing of the plugin imports them."""

"""The console: a page in the browser, served as files that hold no data (docs/console.md)."""

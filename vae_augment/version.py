"""The version of the package, for everything in it that states one."""

__version__ = "0.1.0"

"""A cache of Django's in a memcached that wants a password: Django's own clients cannot give one."""

import bmemcached
from django.core.cache.backends.memcached import BaseMemcachedCache


class SaslMemcachedCache(BaseMemcachedCache):
    """`OPTIONS` are those of `bmemcached.Client`: `username`, `password`."""

    def __init__(self, server, params):
        # The client says None for what is not there, and raises nothing.
        super().__init__(server, params, library=bmemcached, value_not_found_exception=KeyError)

    def close(self, **kwargs):
        """After each request: the connection, with its login, stays for the next."""

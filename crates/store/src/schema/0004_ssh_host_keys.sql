-- The installed system says by which key its ssh server is known; it goes with the machine's key.
ALTER TABLE machine_keys ADD COLUMN ssh_host_key TEXT;

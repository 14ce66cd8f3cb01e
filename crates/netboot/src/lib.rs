//! Network boot: DHCP, TFTP, HTTP.

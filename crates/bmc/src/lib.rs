//! IPMI 2.0: codecs, sessions, client half and server half.

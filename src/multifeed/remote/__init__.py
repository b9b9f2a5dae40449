"""Far away: files of object stores and web servers, read by their URIs."""

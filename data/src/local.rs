//! Local files as an object store whose writes are on disk when they return.

// Package migrations holds the schema of the database as numbered SQL, one
// folder for each dialect: postgres/0001_name.sql, sqlite/0001_name.sql. The
// two folders hold the same numbers and make the same tables. A file that was
// released never changes; the next number does what has to be done.
package migrations

import "embed"

// Files are the migrations, by dialect. They run once each, in the order of
// their numbers, all that are missing in one transaction.
//
//go:embed postgres/*.sql sqlite/*.sql
var Files embed.FS

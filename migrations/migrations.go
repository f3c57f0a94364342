// Package migrations holds the schema of the database as numbered SQL, one folder
// for each dialect: postgres/0001_name.sql, sqlite/0001_name.sql. Both folders have
// the same numbers and create the same tables. A released file never changes; a
// change of the schema gets the next number.
package migrations

import "embed"

// Files are the migrations, by dialect. Each runs once, in the order of the numbers;
// all missing ones run in one transaction.
//
//go:embed postgres/*.sql sqlite/*.sql
var Files embed.FS

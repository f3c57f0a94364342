// Package wire has the JSON types of openapi.yaml, each written once: the service
// encodes them, package client decodes them, and commands print them. They are plain
// structs whose fields are in the order of the contract.
//
// Times are UTC, with milliseconds if there are any; prices and volumes are in the quote
// asset. A pointer, or a slice whose comment says so, is null where its comment says so.
// Values are rounded before they are put here.
package wire

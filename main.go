// Command tidemark finds support and resistance levels in the klines of every
// pair of an exchange and serves them.
package main

import (
	_ "embed"

	"tidemark/command"
)

//go:embed openapi.yaml
var openAPI []byte

func main() { command.Main(openAPI) }

package config

import "errors"

type usage struct{ error }

// Usage marks err as the fault of the command line or the configuration. A command
// that fails with it exits with 2.
func Usage(err error) error { return usage{err} }

// IsUsage reports whether Usage marked err or an error that it wraps.
func IsUsage(err error) bool { return errors.As(err, new(usage)) }

package config

import "errors"

// usage is a wrong command line or configuration.
type usage struct{ error }

// Usage says that err is a wrong command line or configuration, for which a command
// exits with 2.
func Usage(err error) error { return usage{err} }

// IsUsage reports whether err is such an error.
func IsUsage(err error) bool { return errors.As(err, new(usage)) }

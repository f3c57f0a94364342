package service

import "context"

type background struct{}

// Background marks work that nobody waits for, such as a sweep. An exchange serves other
// work first.
func Background(ctx context.Context) context.Context {
	return context.WithValue(ctx, background{}, true)
}

// IsBackground reports whether nobody waits for the work of ctx.
func IsBackground(ctx context.Context) bool { return ctx.Value(background{}) != nil }

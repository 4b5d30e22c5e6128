package deb

import (
	"context"
	"errors"
)

// Fetch brings the packages that pins name into the store, verified.
// Packages that the mirror does not have any more are a *StaleError.
func (a *Archive) Fetch(ctx context.Context, pins []Pin) error {
	return errors.New("not yet")
}

// A StaleError names packages that the mirror no longer has.
type StaleError struct{ Pins []Pin }

func (e *StaleError) Error() string { return "the mirror no longer has" }

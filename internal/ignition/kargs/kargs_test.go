package kargs

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_7_experimental/types"

	"holdfast/internal/ignition"
)

func TestTheHelperIsToldWhatTheConfigWants(t *testing.T) {
	var told []string
	s := New(Config{Exec: func(_ context.Context, name string, args ...string) error {
		told = append([]string{name}, args...)
		return nil
	}})
	if err := s.Run(t.Context(), types.Config{}); err != nil || told != nil {
		t.Fatalf("without arguments: %v, %v", err, told)
	}
	c := types.Config{KernelArguments: types.KernelArguments{ShouldExist: []types.KernelArgument{"a=1"}, ShouldNotExist: []types.KernelArgument{"b"}}}
	if err := s.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if want := []string{"ignition-kargs-helper", "--should-exist", "a=1", "--should-not-exist", "b"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestAMissingHelperIsNamedWithTheField(t *testing.T) {
	c := types.Config{KernelArguments: types.KernelArguments{ShouldExist: []types.KernelArgument{"a"}}}
	err := New(Config{Helper: "no-such-helper"}).Run(t.Context(), c)
	var at *ignition.Error
	if !errors.As(err, &at) || at.Path != "$.kernelArguments" {
		t.Errorf("got %v", err)
	}
}

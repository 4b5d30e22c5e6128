//go:build cgo

package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"

	"holdfast/internal/hsm"
)

// A token is logged in to, with a session for each request at once.
type token struct {
	ctx      *pkcs11.Ctx
	module   string
	sessions chan *session
}

type session struct {
	*pkcs11.Ctx
	handle pkcs11.SessionHandle
}

func openToken(module, label, pin string) (*token, error) {
	ctx := pkcs11.New(module)
	if ctx == nil {
		return nil, fmt.Errorf("%s is no PKCS#11 library that can be loaded", module)
	}
	if err := ctx.Initialize(); err != nil {
		return nil, fmt.Errorf("initialize %s: %w", module, err)
	}
	slot, err := slotOf(ctx, label)
	if err != nil {
		return nil, err
	}
	t := &token{ctx: ctx, sessions: make(chan *session, atOnce)}
	if info, err := ctx.GetInfo(); err == nil {
		t.module = info.ManufacturerID + " " + info.LibraryDescription
	}
	for n := range atOnce {
		handle, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		if err == nil && n == 0 { // a login is for all sessions
			err = ctx.Login(handle, pkcs11.CKU_USER, pin)
		}
		if err != nil {
			return nil, fmt.Errorf("log in: %w", err)
		}
		t.sessions <- &session{ctx, handle}
	}
	return t, nil
}

func slotOf(ctx *pkcs11.Ctx, label string) (uint, error) {
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	var found []uint
	for _, slot := range slots {
		if info, err := ctx.GetTokenInfo(slot); err == nil && info.Label == label {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%d tokens are called %q, expected one", len(found), label)
	}
	return found[0], nil
}

func (t *token) close() {
	_ = t.ctx.Finalize()
	t.ctx.Destroy()
}

var (
	errAbsent = errors.New("no such key")
	errExists = errors.New("it is there")
)

// codeOf sorts errors by PKCS#11 2.40, section 11.1.
func codeOf(err error) hsm.Code {
	var code pkcs11.Error
	switch {
	case errors.Is(err, errAbsent):
		return hsm.CodeAbsent
	case errors.Is(err, errExists):
		return hsm.CodeExists
	case !errors.As(err, &code):
		return ""
	case slices.Contains([]pkcs11.Error{pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_EXPIRED,
		pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_USER_PIN_NOT_INITIALIZED}, code):
		return hsm.CodePIN
	case slices.Contains([]pkcs11.Error{pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_MECHANISM_PARAM_INVALID,
		pkcs11.CKR_FUNCTION_NOT_SUPPORTED, pkcs11.CKR_ARGUMENTS_BAD}, code):
		return hsm.CodeUnsupported
	}
	return hsm.CodeRefused
}

// lost says that the session is of no use any more.
func lost(err error) bool {
	var code pkcs11.Error
	return errors.As(err, &code) && slices.Contains([]pkcs11.Error{pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_DEVICE_REMOVED,
		pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_TOKEN_NOT_PRESENT,
		pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED}, code)
}

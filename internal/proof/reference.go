package proof

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"time"

	"holdfast/internal/api"
	"holdfast/internal/sign"
)

// OpenReference believes reference values that a key under roots signed.
func OpenReference(raw []byte, roots *x509.CertPool, at time.Time) (*api.ReferenceValues, error) {
	env, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	st, _, err := sign.Open(env, roots, at)
	if err != nil {
		return nil, err
	}
	return readReference(st)
}

func peekReference(raw []byte) (*api.ReferenceValues, error) {
	env, err := sign.ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	st, err := sign.Peek(env)
	if err != nil {
		return nil, err
	}
	return readReference(st)
}

func readReference(st sign.Statement) (*api.ReferenceValues, error) {
	if st.PredicateType != api.ReferenceType {
		return nil, fmt.Errorf("statement says %.80q: want %s", st.PredicateType, api.ReferenceType)
	}
	values := &api.ReferenceValues{}
	return values, json.Unmarshal(st.Predicate, values)
}

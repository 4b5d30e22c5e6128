package api

import "encoding/json"

// KBSVersion is the protocol version spoken, as in the Confidential
// Containers sources (trustee 0.21, kbs-types 0.18).
const KBSVersion = "0.4.0"

// KBSPrefix is the path before every KBS endpoint.
const KBSPrefix = "/kbs/v0"

// A KBSRequest opens the handshake: POST /kbs/v0/auth.
type KBSRequest struct {
	Version     string          `json:"version"`
	TEE         string          `json:"tee"`
	ExtraParams json.RawMessage `json:"extra-params"`
}

// A KBSChallenge answers it. Nonce is standard base64.
type KBSChallenge struct {
	Nonce       string          `json:"nonce"`
	ExtraParams json.RawMessage `json:"extra-params"`
}

// RequestParams are the extra-params of a request that we send and read.
type RequestParams struct {
	SupportedHashAlgorithms []string         `json:"supported-hash-algorithms,omitempty"`
	Activation              *ActivationOffer `json:"tpm-activation,omitempty"`
}

// ChallengeParams are the extra-params of a challenge.
type ChallengeParams struct {
	SelectedHashAlgorithm string               `json:"selected-hash-algorithm,omitempty"`
	Activation            *ActivationChallenge `json:"tpm-activation,omitempty"`
}

// An ActivationOffer names the TPM and the key to be bound to it. All fields
// are the marshalled TPM or DER bytes; JSON carries them as standard base64.
type ActivationOffer struct {
	EKCertificate []byte `json:"ek-certificate"` // X.509 DER, from the TPM's NV
	EKPublic      []byte `json:"ek-public"`      // TPMT_PUBLIC
	AKPublic      []byte `json:"ak-public"`      // TPMT_PUBLIC
}

// An ActivationChallenge is what TPM2_MakeCredential made: only the TPM that
// holds both keys can recover the secret.
type ActivationChallenge struct {
	CredentialBlob  []byte `json:"credential-blob"`  // TPMS_ID_OBJECT: the content of a TPM2B_ID_OBJECT
	EncryptedSecret []byte `json:"encrypted-secret"` // content of a TPM2B_ENCRYPTED_SECRET
}

// RuntimeData is what the evidence is bound to. Its digest is taken over the
// RFC 8785 canonical JSON of {"tee-pubkey","nonce","additional-evidence"}.
type RuntimeData struct {
	Nonce     string          `json:"nonce"`
	TEEPubKey json.RawMessage `json:"tee-pubkey"` // a JWK
}

// InitDataMessage carries the raw init-data document.
type InitDataMessage struct {
	Format string `json:"format"` // "toml"
	Body   string `json:"body"`
}

// CompositeEvidence is the primary device's evidence and that of others.
type CompositeEvidence struct {
	Primary    json.RawMessage `json:"primary_evidence"`
	Additional string          `json:"additional_evidence"`
}

// A KBSAttestation proves: POST /kbs/v0/attest.
type KBSAttestation struct {
	InitData    *InitDataMessage  `json:"init-data,omitempty"`
	RuntimeData RuntimeData       `json:"runtime-data"`
	TEEEvidence CompositeEvidence `json:"tee-evidence"`
}

// KBSToken is the answer to a successful attestation.
type KBSToken struct {
	Token string `json:"token"`
}

// TPMEvidence is the primary evidence of the "tpm" TEE: the form Trustee
// reads, with the activation proof and the event log beside it.
type TPMEvidence struct {
	AKPublic       string   `json:"ak_public"` // base64 of a DER SubjectPublicKeyInfo
	Quote          TPMQuote `json:"tpm_quote"`
	ActivationHMAC []byte   `json:"activation_hmac,omitempty"` // HMAC-SHA256(activated secret, runtime-data digest)
	EventLog       []byte   `json:"event_log,omitempty"`       // TCG crypto-agile log, ours appended
}

// TPMQuote is a TPM2_Quote over PCRs 0 to 23 of one bank or more. Trustee
// reads those of the SHA-256 bank alone.
type TPMQuote struct {
	Signature string   `json:"signature"` // base64 of a TPMT_SIGNATURE
	Message   string   `json:"message"`   // base64 of a TPMS_ATTEST
	PCRs      []string `json:"pcrs"`      // of the SHA-256 bank: 24 values, 64 hex digits each

	Banks map[string][]string `json:"banks,omitempty"` // the other banks' values, by name: "sha384"
}

// ErrorInformation is a problem (RFC 7807 in the KBS dialect).
type ErrorInformation struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
}

// ProblemPrefix begins every ErrorInformation type.
const ProblemPrefix = "https://github.com/confidential-containers/kbs/errors/"

// KindKept is the kind of the problem that a machine meets which asks for a key
// that it may use but not have. Ours: Trustee has no such keys.
const KindKept = "KeyNotReleased"

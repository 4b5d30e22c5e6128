# The attestation policy: is this a machine that may be given anything at all?
#
# It is asked after the evidence was verified: it is signed by a key that lives
# in hardware whose maker is trusted, and covers this session's nonce and
# ephemeral key. What is left to decide is whether the machine runs what it
# should. Written in Rego v1; a module for each kind of evidence says when a
# machine of that kind is trusted, and this one is where they meet.
#
# input
#   tee              kind of the evidence, as Trustee names it: "tpm", "snp", …
#   claims           what the verifier found; each module says what it reads
#   init_data        absent when the machine sent none
#     digest         "sha256:…" of the whole document; the evidence covers it
#     data           its table of strings
#   time             seconds since 1970
# and under the names that Trustee's policies read:
#   input[input.tee] the claims once more
#   init_data_claims as init_data.data, but cdh.toml and aa.toml as objects, and
#                    the data of policy.rego as agent_policy_claims in its place
#   report_data
#
# data
#   reference        trusted images: id → reference values
#                    {image, uki, root_hash, pcrs: {"11": …}, firmware: [{firmware, secure_boot, pcrs: {"4": …, "7": …}}]}
#   images           what is known of images, by the value that evidence shows of
#                    them (PCR 11; SNP's measurement; TDX's RTMR 2): → {status: "trusted", "expired" or "revoked",
#                    image, uki, references: [id, …], at, reason}
#   requirements     of images: rebuilt.rego tells
#   configurations   authorised ones: "sha256:…" → {resources: ["default/key/x", …]}
#   attestation_keys the operator's list of TPM keys that count without activation
#                    (tpm-trust/NAME.pub): ak_public → NAME
#   reference_values other values by name: query_reference_value(name) gives one,
#                    or null
#
# output
#   allow            true, or the machine is refused. A policy that has no such
#                    rule allows what its trust_claims affirm, as with Trustee.
#   reasons          why not: a set of sentences that a person reads on a console
#   trust_claims     the AR4SI trustworthiness vector that goes into the token
#   extensions       of the token's appraisal, as in Trustee: [{name, key, value}]
package policy

import rego.v1

default allow := false

# A rule "reasons contains …" more, in a copy of this policy, makes it stricter.
allow if {
	granted
	count(reasons) == 0
}

# Said positively, so that whatever is missing can only ever refuse: the module
# of the machine's kind of evidence put it into trusted.
granted if {
	trusted[input.tee]
	rebuilt
	data.configurations[input.init_data.digest]
}

# Why not is worked out only when it is asked for.
reasons contains why if {
	not granted
	some why in explanations
}

explanations contains sprintf("this policy has no rules for evidence of kind %v", [input.tee]) if not kinds[input.tee]

explanations contains "the machine sent no init-data document" if not input.init_data.digest

explanations contains sprintf("configuration %s is not authorised", [input.init_data.digest]) if not data.configurations[input.init_data.digest]

# — images that are known, but trusted no more —

# shown_image is what the evidence shows of the image that booted.
explanations contains sprintf("image %s (%s) was revoked at %s: %s", [known.image, known.uki, known.at, known.reason]) if {
	known := data.images[shown_image]
	known.status == "revoked"
}

explanations contains sprintf("image %s (%s) was good until %s", [known.image, known.uki, known.at]) if {
	known := data.images[shown_image]
	known.status == "expired"
}

# — the trustworthiness vector, draft-ietf-rats-ar4si section 2.3 —
#
# 0 is "no assertion".

default trust_claims := {
	"instance-identity": 0,
	"configuration": 36, # security-relevant parts are not known
	"executables": 33, # something runs that is not recognised
	"file-system": 0,
	"hardware": 97, # not recognised
	"runtime-opaque": 0,
	"storage-opaque": 0,
	"sourced-data": 0,
}

trust_claims := affirmed[input.tee] if allow

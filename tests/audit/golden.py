"""The worked example of facts/audit-log.md 6.0, byte by byte. Computed twice outside this project."""

from __future__ import annotations

ORIGIN = "6f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5/audit/1"
TENANT = "5e298916-14cb-5616-8a85-70de07ba120f"
PARTNER = "22222222-2222-4222-8222-222222222222"
RAW = b'{"pk":"3f","action":"login","user":{"pk":42,"email":"ann@acme.test"}}'
SUBJECT_KEY = bytes(range(0x20, 0x40))
DK = "64f2ba317adc0860378a6f64c43a6c439c7929085221ffa565634b749001ea70"

LINE_0 = (
    b'{"action":"log.start","actor":{"ref":"","type":"operator"},"at":"2026-11-24T04:00:00.000000Z","c":{}'
    b',"data":{"version":"1.0.0"},"ext":"log.start:1","origin":"6f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5/audit'
    b'/1","outcome":"success","partner":"","prev":"0000000000000000000000000000000000000000000000000000000'
    b'000000000","raw_len":0,"rec":"2026-11-24T04:00:00.000100Z","recv":"2026-11-24T04:00:00.000000Z","res'
    b'ource":{"ref":"","type":""},"seq":0,"source":"operator","src":"operator","t_prev":"00000000000000000'
    b'00000000000000000000000000000000000000000000000","t_seq":0,"tenant":"","time_source":"source","v":1}'
)
LINE_1 = (
    b'{"action":"authentik.login","actor":{"ref":"d43f226259dba932","type":"user"},"at":"2026-11-24T03:59:'
    b'58.123456Z","c":{"actor.email":"bb56d87b9182f43c057f45f2df7e051e23432242d887f51e72a74f1581d557f8","a'
    b'ctor.id":"588a04c9d9b4c2bfbc03a00221a3d5bc5d5aa4f4c04e02c24e632d7dae59f8f3","raw":"966b05e4ee7a3166f'
    b'fd6936e9cd394af8a48a87edb97ae969678ec114576d2a4","tenant.slug":"9403696aadcb672b7fb83cb2f89e207100fc'
    b'1505e10077c198ac4f128e077022"},"data":{"method":"password"},"ext":"3f","origin":"6f0c1d2e-3a4b-4c5d-'
    b'8e6f-708192a3b4c5/audit/1","outcome":"success","partner":"22222222-2222-4222-8222-222222222222","pre'
    b'v":"a4fbf4ad932e99b801cbe522d35d3bb26e580f67cc4cb82f3d558c36631100ba","raw_len":69,"rec":"2026-11-24'
    b'T04:00:01.000200Z","recv":"2026-11-24T04:00:01.000000Z","resource":{"ref":"","type":"application"},"'
    b'seq":1,"source":"authentik","src":"authentik-main","t_prev":"000000000000000000000000000000000000000'
    b'0000000000000000000000000","t_seq":0,"tenant":"5e298916-14cb-5616-8a85-70de07ba120f","time_source":"'
    b'source","v":1}'
)
LINE_2 = (
    b'{"action":"step.intent","actor":{"ref":"","type":"operator"},"at":"2026-11-24T04:00:02.000000Z","c":'
    b'{},"data":{"key":"authentik/group/users","step":"s-7","verb":"create"},"ext":"s-7:intent","origin":"'
    b'6f0c1d2e-3a4b-4c5d-8e6f-708192a3b4c5/audit/1","outcome":"unknown","partner":"22222222-2222-4222-8222'
    b'-222222222222","prev":"9a6944b40903849f860a40b9e96f9b86f68b6ed9729a375cc6fc0352a748c5d3","raw_len":0'
    b',"rec":"2026-11-24T04:00:02.000000Z","recv":"2026-11-24T04:00:02.000000Z","resource":{"ref":"","type'
    b'":"group"},"seq":2,"source":"operator","src":"operator","t_prev":"9a6944b40903849f860a40b9e96f9b86f6'
    b'8b6ed9729a375cc6fc0352a748c5d3","t_seq":1,"tenant":"5e298916-14cb-5616-8a85-70de07ba120f","time_sour'
    b'ce":"source","v":1}'
)
LINES = (LINE_0, LINE_1, LINE_2)
LEAVES = (
    "a4fbf4ad932e99b801cbe522d35d3bb26e580f67cc4cb82f3d558c36631100ba",
    "9a6944b40903849f860a40b9e96f9b86f68b6ed9729a375cc6fc0352a748c5d3",
    "d6081729e35a059faee0c7ab421f872f27a315f7ecac9f0380a5c0ef24510b94",
)
ROOT = "94df286e08ce1a3d3b48c45838f02efd1ece6c2292b3f11be36534729a84d4b9"
MAP_LEAVES = (
    "ec6451c1a97465567791fff6f59246f7b61edf7dc2ac12bb87b976c833a452ec",
    "18863f117c3e610eab1194ccce2c550fff01710267f32d916a79fd69edca3da2",
)
MAP_ROOT = "75c1c6b0dd86b24405d74729cfc1bca3a9927f3ade24b41a207baaabc4725f90"

LOG_SEED, TIME_SEED, SECRET = bytes(range(0x20)), bytes(range(0x20, 0x40)), b"\x55" * 32
SECONDS = 1_795_492_803
VKEY = f"{ORIGIN}+48a3fb43+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
NOTE = f"""\
{ORIGIN}
3
lN8obgjOGj07SMRYOPAu/R7ObCKSs/Eb42U0cpqE1Lk=

— {ORIGIN} SKP7Q2wZQ+PUyTMnlDPMADhy8gAiWTRCxT26eUuEzm9JBp9uTRjHFxg+61zzg5mwAjScjL5LUpLcDBoDS565BMJNaAQ=
— {ORIGIN}/hmac-1 6UFUYmuZt6LUnTq715EQ3jKHG92MuHYmIAkSrzjnbcimp8EE
— {ORIGIN}/time +BAxCAAAAABrBQvDbZO7x4Xp/P9dUGlS/aSnbYO7AJYpu1UuoVPsI6r220uPUMs7NmIulxJq0L3CoWU8EbzuPS3bDlLN/Mnqysi7Aw==
""".encode()

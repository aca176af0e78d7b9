--
-- PostgreSQL database dump
--

\restrict DHAlgLqIUg0cAenvImooh7UtXKXs9ajUD6dxT45fI8Dq8XJoQgG8SJpynLuoDLO

-- Dumped from database version 17.11 (Debian 17.11-0+deb13u1)
-- Dumped by pg_dump version 17.11 (Debian 17.11-0+deb13u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- PostgreSQL database dump complete
--

\unrestrict DHAlgLqIUg0cAenvImooh7UtXKXs9ajUD6dxT45fI8Dq8XJoQgG8SJpynLuoDLO

